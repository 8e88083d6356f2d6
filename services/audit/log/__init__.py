"""The Merkle log in C2SP formats: hashing, signed notes, tiles, leaf entries. Pure."""
