"""Where the files of an export lie; it is written here, and read by what judges and pushes.

student/<variant>/model.tflite, spec.json
teacher/float32/model.tflite, spec.json      timed against the student, never pushed
preprocessing/preprocessing.json             pushed in the manifest
preprocessing/vocabulary_<feature>.txt       pushed beside it
warmup/tf_serving_warmup_requests            pushed in the SavedModel's assets.extra
"""

STUDENT, TEACHER = "student", "teacher"
TFLITE_FILE, SPEC_FILE = "model.tflite", "spec.json"
PREPROCESSING, PREPROCESSING_FILE = "preprocessing", "preprocessing.json"
# The names of the file and of its directory in a SavedModel are TensorFlow Serving's.
WARMUP, WARMUP_FILE, EXTRA_ASSETS = "warmup", "tf_serving_warmup_requests", "assets.extra"
