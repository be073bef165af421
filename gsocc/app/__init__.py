"""The top floor: the `gsocc` command. The only room of gsocc that may call the stages."""
