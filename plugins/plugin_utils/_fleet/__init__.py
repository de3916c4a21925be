"""Which gateways of a fleet a run has anything to do on; used on the controller only."""
