"""Exporter: TFLite files of student and teacher, each checked against its Keras original."""
