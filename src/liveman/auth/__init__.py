"""Who may do what: tokens, JWT, accounts. To come; until then a configuration that asks for it is refused."""
