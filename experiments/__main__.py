"""`python -m experiments`: the studies, one line each."""

import ast
import pathlib


def studies() -> dict[str, tuple[str, str]]:
    """Module -> (expected time, first line of its docstring), read without importing any."""
    found = {}
    for file in sorted(pathlib.Path(__file__).parent.glob("*.py")):
        module = ast.parse(file.read_text(encoding="utf-8"))
        time = _constant(module, "TIME")
        if time is not None:
            found[file.stem] = (time, (ast.get_docstring(module) or "").split("\n")[0])
    return found


def _constant(module: ast.Module, name: str) -> str | None:
    for node in module.body:
        if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == [name]:
            return str(ast.literal_eval(node.value))
    return None


def main() -> None:
    """Prints the list."""
    print("usage: python -m experiments.STUDY [--help]\n")
    for name, (time, line) in studies().items():
        print(f"{name}\n    {line}\n    Time: {time}.")
    print("\nOf finished trainings: learning, recipes, code_model; of the reward: rewards.")
    print("The tables and claims in docs, made from their rows: pages, findings.")


if __name__ == "__main__":
    main()
