"""The diagnostics: each a function from small tables or arrays to measures and gates."""
