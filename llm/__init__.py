"""Language models that write spectrum allocation programs: prompt, completion, execution, reward."""
