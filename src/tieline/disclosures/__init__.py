"""Published updates of miners: read them, keep them with their sources, check them, explain and compare.

Runs alone on the light install. `read` turns a document into facts; `book` holds facts as claims with their
witnesses; `checks.check` gives verdicts; `explain.bridge` and `compare.table` are folds of the book; `page`
answers the console.
"""
