def write_page(s,p): pass
