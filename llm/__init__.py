"""Language models that write spectrum allocation programs: prompt, completion, program, reward."""
