"""How the shipped recogniser and its parts are made: recipe, training, export."""
