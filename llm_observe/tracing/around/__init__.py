"""What a program says around its calls: steps, context, scores, silence."""
