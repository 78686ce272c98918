"""The far sides: one package-free module per kind, each the only one that knows its library."""
