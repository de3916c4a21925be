"""What of a gateway's variables ends in Nginx's files, checked; used on the controller only."""
