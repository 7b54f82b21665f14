"""What virtual devices learn: one interface, :class:`Task`, and four problems.

- :class:`Quadratic`: its optimum is known in closed form; for scale and exact checks.
- :class:`Digits`: multinomial regression or a small perceptron on handwritten digits, split by Dirichlet (needs
  scikit-learn).
- :class:`banyan.simulations.tasks.language.Language`: LoRA of a small Llama by the node's own trainer (needs torch).
"""

from banyan.simulations.tasks.digits import Digits
from banyan.simulations.tasks.quadratic import Quadratic
from banyan.simulations.tasks.task import NoSuchPoison, Poison, Score, Task, Vector, spec_of

__all__ = ["Digits", "NoSuchPoison", "Poison", "Quadratic", "Score", "Task", "Vector", "spec_of"]
