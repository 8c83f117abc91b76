"""From an instance to a decision: prompt, completion, program, action, raw, assignment."""
