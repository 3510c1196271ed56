"""`kerazoo/__init__.pyi` is what editors see in place of the lazy package."""
import ast
import inspect
import pathlib

import jedi
import pytest

import kerazoo

STUB = ast.parse(pathlib.Path(kerazoo.__file__).with_name("__init__.pyi").read_text())
PROTOCOLS = {node.name: node.body[0] for node in STUB.body if isinstance(node, ast.ClassDef)}
BUILDERS = {
    node.target.id: node.annotation.id for node in STUB.body
    if isinstance(node, ast.AnnAssign) and getattr(node.annotation, "id", None) in PROTOCOLS
}


def test_the_stub_names_every_model_and_no_other():
    assert sorted(BUILDERS) == sorted(kerazoo.list_models())


def test_the_stub_names_everything_public():
    functions = {node.name for node in STUB.body if isinstance(node, ast.FunctionDef)}
    modules = {
        alias.asname for node in STUB.body if isinstance(node, ast.ImportFrom) for alias in node.names if alias.asname
    }
    assert functions | modules | set(BUILDERS) == set(kerazoo.__all__)


@pytest.mark.parametrize("name", kerazoo.list_models())
def test_the_stub_gives_each_builder_its_signature(name):
    stub = PROTOCOLS[BUILDERS[name]].args
    defaults = [ast.unparse(default) for default in stub.kw_defaults]
    real = inspect.signature(getattr(kerazoo, name)).parameters
    assert [argument.arg for argument in stub.kwonlyargs] == list(real)
    for parameter, default in zip(real.values(), defaults):
        # Models of different data sets and papers differ in these alone.
        own = parameter.name in ("classes", "preprocessing", "units", "aux_heads")
        assert default == ("..." if own else repr(parameter.default))


@pytest.mark.parametrize("function", [node.name for node in STUB.body if isinstance(node, ast.FunctionDef)])
def test_the_stub_gives_each_function_its_signature(function):
    stub = next(node for node in STUB.body if isinstance(node, ast.FunctionDef) and node.name == function).args
    real = inspect.signature(getattr(kerazoo, function)).parameters
    rest = [filter(None, [one]) for one in (stub.vararg, stub.kwarg)]
    arguments = (*stub.posonlyargs, *stub.args, *rest[0], *stub.kwonlyargs, *rest[1])
    names = [argument.arg for argument in arguments]
    assert names == list(real)
    written = [ast.literal_eval(default) for default in (*stub.defaults, *filter(None, stub.kw_defaults))]
    assert written == [p.default for p in real.values() if p.default is not p.empty]


def test_an_editor_completes_a_builder():
    (signature,) = jedi.Script("import kerazoo\nkerazoo.resnet18(").get_signatures()
    parameters = [parameter.name for parameter in signature.params]
    assert {"classes", "input_shape", "augmentation", "norm"} <= set(parameters)
    names = {completion.name for completion in jedi.Script("import kerazoo\nkerazoo.resn").complete()}
    assert {"resnet18", "resnet50_v2"} <= names
