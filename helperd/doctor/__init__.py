"""What `netdeck doctor` looks at: one file for each subject, each a function from what is known of the host to findings."""
