"""The commands of `fwdmft`: what they take, and what they print. `fwdmft.cli` makes one program of them."""
