"""The region engine: what to segment (plans, pure), and doing it (read, infer, decode, merge)."""
