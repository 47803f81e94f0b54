"""The tool that runs the documents' examples."""
