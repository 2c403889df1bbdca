still
mark 1
guests
mark 0
checked
