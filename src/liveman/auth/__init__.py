"""Who asks, and what that one may do: tokens, accounts, an outside service, limits and quotas."""
