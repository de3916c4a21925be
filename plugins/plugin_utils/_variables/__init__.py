"""What is wrong with the variables of a host; used on the controller only."""
