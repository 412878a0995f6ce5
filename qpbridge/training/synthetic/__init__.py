"""Pictures of vessels in sections, drawn into real tissue, so that the truth is known."""
