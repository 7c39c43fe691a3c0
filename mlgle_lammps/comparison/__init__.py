"""What `compare` puts together: a run against full MD, and runs over temperatures. It may use every stage."""
