"""One module per verb, one function per noun. Nothing heavy is imported before a function runs."""
