"""The steps of the certificate: what a kernel does, read back from its IR, against what its Scop says."""
