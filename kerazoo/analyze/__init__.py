"""What each layer of a model is, costs and sees.

`kerazoo.analyze(model)` itself is the table of layers; `compare` puts models beside each other; `conv_output_size`,
`receptive_field` and `count_parameters` answer single questions; `effective_receptive_field` measures by gradients.
"""
from kerazoo.analyze.analysis import Analysis, analyze
from kerazoo.analyze.comparison import Comparison, Summary, compare
from kerazoo.analyze.effective import EffectiveField, effective_receptive_field
from kerazoo.analyze.questions import ReceptiveField, conv_output_size, count_parameters, receptive_field
from kerazoo.analyze.rows import Row
from kerazoo.callable_module import make_callable

__all__ = [
    "Analysis", "Comparison", "EffectiveField", "ReceptiveField", "Row", "Summary", "analyze", "compare",
    "conv_output_size", "count_parameters", "effective_receptive_field", "receptive_field",
]

make_callable(__name__, analyze)
