"""The torch front end: any torch code, modules included, becomes a graph.

This is the only place of the client that imports torch.

================= ==========================================================================
``front_end``     what the rest of the client sees: :class:`TorchFrontEnd`
``trace``         one running trace: modes, values, constants
``dispatch``      what is done with an operator as it is called: the policy
``plans``         for each operator, once: its row in the op table, or what stands in for it
``recording``     an equation for an operator that has a row
``fakes``         what an operator returns, but for its elements
``special``       the operators that need more than their row
``numbers``       Python numbers where an operator takes a tensor
``indexing``      masks
``functions``     torch's functions, as the user's own code calls them
``subscripts``    elements at positions that depend on arguments
``strided``       as_strided, which sees memory
``normalization`` batch norm, whose kernels write where no schema says so
``inplace``       writes: functional counterparts of ``add_`` and of ``out=``
``aliases``       views: which tensors share memory, and how a write to one reaches the others
``views``         for each kind of view, how a write goes back through it
``capture``       closed-over tensors, and the values of what follows from constants alone
``escapes``       tensors that outlive the trace
``values``        what Python needs to know of elements
``conversion``    tensors to arrays and back
``settings``      what is switched off meanwhile
``location``      the user's own line
``refusals``      torch's errors that mean 'cannot be traced', in farfunc's words
================= ==========================================================================
"""

from .front_end import TorchFrontEnd

__all__ = ["TorchFrontEnd"]
