"""The node's page: a small web page of its owner's, served by the daemon to this machine's own browser.

:mod:`~banyan.node.page.door` says who may look, :mod:`~banyan.node.page.application` what there is to see and do. The
page itself is plain HTML, CSS and ES modules in ``static/``; nothing is built, and nothing comes from elsewhere.
"""
