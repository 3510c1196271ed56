"""Architectures, one file a family. A family file is plain Python over a kit and loads no Keras before the first build."""
