"""Publishing a blessed student as whole versions, verifying and rolling back what was published."""
