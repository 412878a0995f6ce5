"""What in an image can't be tissue, or not be judged: empty glass, black fill, ink, blur."""
