"""What py-spy saw, mapped to stages and put beside what was recorded."""
