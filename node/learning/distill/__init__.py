"""Knowledge across base models: one branch's model is the teacher of another branch, on public text.

:mod:`tokenizers` says whether teacher and student read alike. Where they do, :mod:`softened` makes the student's
probabilities the teacher's; where they do not, :mod:`teacher_text` has the teacher write and the student reads.
:mod:`client` does either in the place of the ClientApp, so that what comes of it is an update like any other.
"""
