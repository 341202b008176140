"""Other libraries' interfaces over our stores, a module and an extra each; this package loads none of them."""
