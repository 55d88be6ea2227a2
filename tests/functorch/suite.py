"""PyTorch's functorch test classes, loaded with the transforms they call replaced by others.

The two files are executed as they stand; only what they *import* differs. A file's own `import torch`,
`from functorch import jacrev` or `torch.vmap` meets a stand-in for the module whose eleven transforms are the given
ones and whose every other attribute is the real module's. torch itself is left alone, so what is under test may use
it freely.

One assertion is switched off for other transforms than torch's: `check_view`, that the result of vmapping a view
operator lies in the argument's own memory. The values of those tests are compared as they are everywhere else.
"""

from __future__ import annotations

import builtins
import importlib
import os
import sys
import types
import unittest
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

# Read when torch and its test helpers are imported.
os.environ["PYTORCH_TESTING_DEVICE_ONLY_FOR"] = "cpu"
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # many tests make torch warn, as they mean to

TRANSFORMS = (
    "functional_call",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "linearize",
    "stack_module_state",
    "vjp",
    "vmap",
)

FILES: Mapping[str, tuple[str, ...]] = {
    "test_eager_transforms": (
        "TestGradTransform",
        "TestVmapOfGrad",
        "TestJac",
        "TestHessian",
        "TestJvp",
        "TestLinearize",
        "TestVmapJvpInplaceView",
        "TestComposability",
        "TestHigherOrderOperatorInteraction",
        "TestExamplesCorrectness",
        "TestMakeFunctional",
        "TestSliceArgnums",
        "TestHelpers",
        "TestAutogradFunction",
        "TestAutogradFunctionVmapAPI",
        "TestFunctionalize",
        "TestCompileTransforms",
    ),
    "test_vmap": (
        "TestVmapAPI",
        "TestVmapOperators",
        "TestVmapBatchedGradient",
        "TestRandomness",
        "TestTransformFailure",
        "TestVmapDeviceType",
        "TestVmapNestedTensor",
    ),
}
"""The classes of each file, in the order of the report. (TestVmapOperatorsOpInfo, the operators one by one, is what
`make conformance` measures.)"""

CORE = FILES["test_eager_transforms"][:9]
"""jac, hessian, grad, vjp, jvp, vmap and their composition: PyTorch's tests of the transforms as such."""

HELPERS = ("common_utils", "functorch_additional_op_db")
"""Files beside the tests that they import by name."""


class _Stand(types.ModuleType):
    """A module's double: the attributes in `replaced` are ours, all others the module's, read when asked for."""

    def __init__(self, module: types.ModuleType, replaced: Mapping[str, Any]) -> None:
        super().__init__(module.__name__)
        object.__setattr__(self, "_module", module)
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._module, name, value)


class Loader:
    """Executes the test files against one choice of transforms (none: torch's own, the baseline)."""

    def __init__(self, folder: Path, transforms: Mapping[str, Callable[..., Any]] | None) -> None:
        self.unchecked_views = 0
        self._folder = folder
        self._loaded: dict[str, types.ModuleType] = {}
        self._doubles: dict[str, types.ModuleType] = {}
        if transforms is not None:
            torch, func, functorch = (importlib.import_module(name) for name in ("torch", "torch.func", "functorch"))
            double = _Stand(func, transforms)
            self._doubles = {
                "torch.func": double,
                "torch": _Stand(torch, {"func": double, "vmap": transforms["vmap"]}),
                "functorch": _Stand(functorch, transforms),
            }

    def load(self, name: str) -> types.ModuleType:
        """The file `name`.py of the suite, executed once."""
        if name in self._loaded:
            return self._loaded[name]
        path = self._folder / f"{name}.py"
        module = types.ModuleType(name)
        module.__file__ = str(path)
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._import}
        self._loaded[name] = sys.modules[name] = module  # test helpers look a class's module up by name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchvision is not installed, and the file says so
            exec(compile(path.read_bytes(), path, "exec"), vars(module))
        if self._doubles and hasattr(module, "_vmap_test"):
            vars(module)["_vmap_test"] = self._without_check_view(vars(module)["_vmap_test"])
        return module

    def _without_check_view(self, check: Callable[..., None]) -> Callable[..., None]:
        def unchecked(*args: Any, check_view: bool = False, **kwargs: Any) -> None:
            self.unchecked_views += check_view
            check(*args, **kwargs)

        return unchecked

    def _import(
        self, name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
    ) -> types.ModuleType:
        if level == 0 and name in HELPERS:
            return self.load(name)
        module = __import__(name, globals, locals, fromlist, level)
        bound = name if fromlist else name.partition(".")[0]  # `import a.b` binds a, `from a.b import c` reads a.b
        return self._doubles.get(bound, module)

    def tests(self) -> Iterator[tuple[str, unittest.TestCase]]:
        """Every test of the classes above with its identity, `TestJac.test_simple_jacrev`."""
        for file, classes in FILES.items():
            module = self.load(file)
            for name in classes:
                # A class with device-type tests is replaced by one for each device.
                per_device = f"{name}CPU"
                case = getattr(module, per_device, None) or getattr(module, name)
                for method in unittest.TestLoader().getTestCaseNames(case):
                    identity = f"{name}.{method.removesuffix('_cpu')}"
                    yield identity, case(method)
