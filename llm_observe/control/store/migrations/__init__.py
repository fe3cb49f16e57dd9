"""How ``control.db`` came to its present shape, step by step; run when the server starts."""
