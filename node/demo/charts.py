def save_loss_png(s,p): pass
