"""How a PKI's status looks to a person; used on the controller only."""
