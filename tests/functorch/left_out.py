"""The tests that say nothing about a remote torch.func, each with the reason.

A pattern is a shell pattern over `Class.test`. What is not named here counts: it has to pass, or the run fails. Every
pattern must match some test, so that the table cannot outlive what it describes.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping

_FUNCTION = (
    "runs a custom autograd.Function with the test's own Python backward or vmap rule: code, which never travels; "
    "farfunc refuses it with an error (and the tests of that refusal count)"
)
_WARNINGS = "asserts the deprecation warnings of the old `functorch` package, which farfunc does not imitate"
_FUNCTIONALIZE = "functionalize is a local rewriting of programs and no part of farfunc"
_MAKE_FUNCTIONAL = "calls functorch's make_functional only, which functional_call replaced; no transform is called"
_LEVELS = "reads the nesting level that torch.func's interpreter keeps for a value which escaped from it"
_PRINTING = "asserts how torch prints its wrappers (`GradTrackingTensor(lvl=1, ...)`)"
_HELPER = "calls private helpers of torch._functorch; no transform is called"
_NO_CALL = "calls no transform"
_PRIVATE_OP = "runs operators that torch registers for its own tests, to see its vmap fallback warn or refuse"
_CHUNK_VMAP = "calls functorch.experimental.chunk_vmap, which is not in torch.func"
_ALIAS = "asserts that the result occupies the argument's own memory; a remote result is a new array"
_STRIDES = "the result depends on the strides and storage offset of the argument in memory, which do not travel"
_NESTED = "ragged nested tensors, which have no shape to send"
_VALUE = "reads a value with `.item()` inside the function, through private operators that reduce over the batch"
_WORDS = "asserts the words of vmap's own refusal; farfunc refuses, too, in its own words and with the user's line"
_LENIENT = "expects torch's refusal of what farfunc computes: `view` of a batch that is not contiguous in memory"
_TAPE = "records an autograd tape inside the function; farfunc refuses, as nothing has values while it is traced"
_ORDER = (
    "both refuse: torch for the randomness, farfunc before it sends anything, as a batched value is written to an "
    "argument that is not batched"
)

LEFT_OUT: Mapping[str, str] = {
    # The transforms and their composition.
    "TestGradTransform.test_escaped_wrappers_are_*": _LEVELS,
    "TestGradTransform.test_tensor_print_*": _PRINTING,
    "TestJac.test_chunk_jacrev_chunksize_one_*": _FUNCTION,
    "TestJvp.test_autograd_function_disables_fwd_grad": _NO_CALL,
    "TestComposability.test_deprecation_*": _WARNINGS,
    "TestComposability.test_autograd_function_no_setup_context_transform_functionalize": _FUNCTIONALIZE,
    "TestComposability.test_can_use_functionalize_when_key_is_excluded": _FUNCTIONALIZE,
    "TestComposability.test_no_warning_on_import_functorch": _NO_CALL,
    "TestHigherOrderOperatorInteraction.test_basic_sum": _NO_CALL,
    # Classes about something else.
    "TestSliceArgnums.*": _HELPER,
    "TestHelpers.*": _HELPER,
    "TestAutogradFunction.*": _FUNCTION,
    "TestAutogradFunctionVmapAPI.*": _FUNCTION,
    "TestFunctionalize.*": _FUNCTIONALIZE,
    "TestCompileTransforms.*": "compiles torch's own transforms with torch.compile, in the caller's process",
    "TestVmapNestedTensor.*": _NESTED,
    "TestMakeFunctional.test_buffer_tying": _MAKE_FUNCTIONAL,
    "TestMakeFunctional.test_combine_state_for_ensemble_*": _MAKE_FUNCTIONAL,
    "TestMakeFunctional.test_correctness_mnist_mechanism_make_functional": _MAKE_FUNCTIONAL,
    "TestMakeFunctional.test_disable_autograd_tracking_*": _MAKE_FUNCTIONAL,
    "TestMakeFunctional.test_make_functional_state_*_mechanism_make_functional": _MAKE_FUNCTIONAL,
    "TestMakeFunctional.test_parameter_tying": _MAKE_FUNCTIONAL,
    "TestMakeFunctional.test_with_buffers_disable_autograd_tracking_*": _MAKE_FUNCTIONAL,
    # vmap.
    "TestVmapAPI.test_decomposition_under_python_dispatcher": (
        "asserts which of its own rules torch's Python dispatcher picks in this process"
    ),
    "TestVmapAPI.test_batched_gradient_basic": _TAPE,
    "TestVmapAPI.test_data_attribute": "reads `x.data` without using it, of which torch tells a tracer nothing",
    "TestVmapAPI.test_unsupported_op_err_msg": _WORDS,
    "TestVmapAPI.test_fallback_does_not_warn_by_default": _PRIVATE_OP,
    "TestVmapAPI.test_fallback_warning": _PRIVATE_OP,
    "TestVmapAPI.test_fallback_zero_dim": _PRIVATE_OP,
    "TestVmapAPI.test_fallback_with_undefined_grad": _NO_CALL,
    "TestVmapAPI.test_reshape_dim_*": _HELPER,
    "TestVmapAPI.test_restore_vmap_*": "tests the private restore_vmap, which returns what vmap hides",
    "TestVmapAPI.test_inplace_fallback_unary": _ALIAS,
    "TestVmapAPI.test_non_default_in_dims_out_dims": _ALIAS,
    "TestVmapAPI.test_non_zero_in_dims": _ALIAS,
    "TestVmapAPI.test_nonzero_out_dims": _ALIAS,
    "TestVmapOperators.test_conj": _ALIAS,
    "TestVmapOperators.test_contiguous": _ALIAS,
    "TestVmapOperators.test_transpose": _ALIAS,
    "TestVmapOperators.test_as_strided": _STRIDES,
    "TestVmapOperators.test_is_contiguous": _STRIDES,
    "TestVmapOperators.test_clone": _STRIDES,
    "TestVmapOperators.test_new_empty_strided": _STRIDES,
    "TestVmapOperators.test_stride": _STRIDES,
    "TestVmapOperators.test_view_as_complex": _STRIDES,
    "TestVmapOperators.test_view": _LENIENT,
    "TestVmapOperators.test_view_as": _LENIENT,
    "TestVmapOperators.test_mm": _WORDS,
    "TestVmapOperators.test_squeeze": (
        "asserts the error type of vmap's rule for an axis out of range; farfunc raises torch.squeeze's own error"
    ),
    "TestVmapBatchedGradient.test_inplace_manyview": _STRIDES,
    "TestVmapBatchedGradient.test_inplace_view": _STRIDES,
    "TestVmapBatchedGradient.test_where": _WORDS,
    "TestRandomness.test_unsupported_random": _WORDS,
    "TestRandomness.test_bernoulli_in_place_*_randomness_error_batched_input_none_batched_probability_[fl]*": _ORDER,
    "TestRandomness.test_bernoulli_in_place_*_randomness_same_batched_input_none_batched_probability_[fl]*": _ORDER,
    "TestVmapOperators.test_chunk_vmap_*": _CHUNK_VMAP,
    "TestRandomness.test_chunk_vmap_*": _CHUNK_VMAP,
    "TestVmapDeviceType.test__is_all_true": _VALUE,
    "TestVmapDeviceType.test__is_any_true": _VALUE,
    "TestVmapDeviceType.test_check_tensor": _PRIVATE_OP,
}


def reason(identity: str) -> str | None:
    """Why the test `Class.test` is left out; None if it counts."""
    for pattern, why in LEFT_OUT.items():
        if fnmatch.fnmatchcase(identity, pattern):
            return why
    return None


def stale(identities: list[str]) -> list[str]:
    """The patterns that match none of these tests."""
    return [pattern for pattern in LEFT_OUT if not fnmatch.filter(identities, pattern)]
