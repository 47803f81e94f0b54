"""The Python client and the command line, against a stand-in of the REST interface."""
