"""What a word is, for TensorFlow's regular expressions and for Python's alike."""

# ASCII punctuation; letters of any script, digits and their marks make words.
PUNCTUATION = r"[!-/:-@\[-`{-~]+"
