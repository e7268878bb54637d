"""The method: a frozen unit LM and labelled units come in, a trained prompt and its answers go out.

``prompt`` holds what is trained, ``task_model`` joins it with the LM and the verbalizer,
``training`` trains it, and ``decoding`` finds answers. The next rooms are ``downstream``, the
method that prompts are compared with, and ``evaluation``.
"""
