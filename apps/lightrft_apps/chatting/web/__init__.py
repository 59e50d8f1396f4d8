"""The chat as a page of this machine: who may come in (`guard`), what is asked (`app`), and the server (`server`)."""
