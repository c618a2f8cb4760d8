"""Reports: views of the journal. None of them knows anything the journal does not say."""
