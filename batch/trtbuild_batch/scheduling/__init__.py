"""The jobs that ``trtbuild.yaml`` declares, and the files that let a scheduler run them."""
