"""Members of any kind as one served model: fitting, weighing and pricing them."""
