"""Architectures, one file a family; a family file is plain Python over a kit and loads no Keras before a build."""
