"""The index: where records are found by who, when and what. Made of the journal, encrypted, and disposable."""
