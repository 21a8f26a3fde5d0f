"""Validation of API objects: pure functions from documents to lists of ``FieldError``.

Messages, field paths and order are Kubernetes' own (``pkg/apis/core/validation``).  Documents have passed
``check_structure``, so types are right; anything else may be wrong.  No function here raises on such a document.
"""
